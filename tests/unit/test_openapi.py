"""Names in the OpenAPI description that generated clients contain."""

from superimap.api.app import openapi

SCHEMAS = frozenset(
    [
        "PortalLink",
        "ActorKind",
        "ApiKeyChange",
        "ApiKeyOut",
        "AuditAction",
        "AuditEntryOut",
        "NewApiKeyOut",
        "NewApiKeyRequest",
        "Scope",
        "AttemptOut",
        "Breaker",
        "CancelOut",
        "CancelRequest",
        "Cluster",
        "ClusterIdler",
        "ClusterShards",
        "ClusterUsers",
        "ConnectionChange",
        "ConnectionOut",
        "DeliveryDetail",
        "DeliveryOut",
        "DeliveryState",
        "EndpointOut",
        "EventKind",
        "FieldFault",
        "Health",
        "ListedUser",
        "MessageDelivery",
        "MessageOut",
        "NewConnection",
        "NewSecret",
        "NewUser",
        "NewUserBatch",
        "BatchOutcome",
        "BatchResult",
        "UserBatchOut",
        "OriginalOut",
        "Outcome",
        "Problem",
        "ReasonCode",
        "ReplayOut",
        "ReplayRequest",
        "RotateRequest",
        "SecretOut",
        "TestOut",
        "TestRequest",
        "UserChange",
        "UserEventKind",
        "UserEventOut",
        "UserOut",
        "UserStatus",
    ]
)

OPERATIONS = frozenset(
    [
        "create_portal_link",
        "create_api_key",
        "list_api_keys",
        "list_audit_log",
        "retire_api_key",
        "show_api_key",
        "sign_with_api_key",
        "update_api_key",
        "archive_user",
        "cancel_deliveries",
        "cancel_delivery",
        "create_connection",
        "create_user",
        "create_users",
        "delete_connection",
        "enable_endpoint",
        "healthz",
        "list_connections",
        "list_deliveries",
        "list_endpoints",
        "list_events",
        "list_messages",
        "retry_message",
        "list_secrets",
        "list_users",
        "patch_connection",
        "patch_user",
        "readyz",
        "receive_events",
        "receive_new_mail",
        "receive_user_connected",
        "receive_user_disconnected",
        "replay_deliveries",
        "replay_delivery",
        "rotate_secret",
        "show_cluster",
        "show_connection",
        "show_delivery",
        "show_user",
        "test_endpoint",
        "update_connection",
        "update_user",
    ]
)


def test_schemas_keep_their_published_names():
    """A renamed class changes generated clients; `openapi.PUBLISHED_NAMES` keeps the name on the wire."""
    schemas = openapi()["components"]["schemas"]

    assert schemas.keys() == SCHEMAS
    assert {name: schema.get("title") for name, schema in schemas.items()} == {name: name for name in SCHEMAS}


def test_operations_keep_their_ids():
    operations = [operation for path in openapi()["paths"].values() for operation in path.values()]

    assert {operation["operationId"] for operation in operations} == OPERATIONS
    assert len(operations) == len(OPERATIONS)
