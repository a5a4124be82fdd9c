"""The application's part of the README, run by the generated client's Python with URL and key as arguments."""

import sys
from http import HTTPStatus

from superimap_client import AuthenticatedClient
from superimap_client.api.connections import list_connections
from superimap_client.api.users import (
    archive_user,
    create_user,
    create_users,
    list_users,
    show_user,
    update_user,
)
from superimap_client.models import (
    BatchOutcome,
    NewUser,
    NewUserBatch,
    Problem,
    UserBatchOut,
    UserChange,
    UserOut,
    UserStatus,
)

url, api_key = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=api_key, prefix="", auth_header_name="x-api-key")

with client:
    codes = [known.imap_provider_code for known in list_connections.sync(client=client)]
    assert codes == ["GMAIL_OAUTH2", "PLAIN"], codes

    created = create_user.sync("PLAIN", client=client, body=NewUser(tag="MY_USER", email="my@example.com"))
    assert isinstance(created, UserOut), created
    taken = create_user.sync("PLAIN", client=client, body=NewUser(tag="my_user"))
    assert isinstance(taken, Problem), taken
    assert taken.errors[0].field == "tag"

    shown = show_user.sync("PLAIN", "MY_USER", client=client)
    assert shown.connect_url.startswith(f"{url}/users/connect/new?user_id="), shown
    assert shown.connected_at is None

    tags = [listed.tag for listed in list_users.sync("PLAIN", client=client)]
    assert tags == ["ADA", "MY_USER"], tags

    login = UserChange(login_username="my", login_password="secret")
    connected = update_user.sync("PLAIN", "MY_USER", client=client, body=login)
    assert connected.status is UserStatus.CONNECTING, connected
    assert connected.email == "my@example.com", "a field that was left out has changed"

    assert archive_user.sync_detailed("PLAIN", "MY_USER", client=client).status_code == HTTPStatus.NO_CONTENT
    assert show_user.sync("PLAIN", "MY_USER", client=client).archived
    restored = update_user.sync("PLAIN", "MY_USER", client=client, body=UserChange(archived=False))
    assert (restored.archived, restored.status) == (False, UserStatus.CONNECTING), restored

    batch = NewUserBatch(users=[NewUser(tag="GRACE"), NewUser(tag="my_user")])
    many = create_users.sync("PLAIN", client=client, body=batch)
    assert isinstance(many, UserBatchOut), many
    assert [each.outcome for each in many.results] == [BatchOutcome.CREATED, BatchOutcome.EXISTS], many
    assert [each.user.tag for each in many.results] == ["GRACE", "MY_USER"], many
    assert many.results[1].problem.errors[0].field == "tag", many

print("flow done")
