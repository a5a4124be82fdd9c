"""Root of all errors that SuperIMAP raises on purpose, and the release of what an error keeps alive."""

import asyncio
from types import TracebackType


class SuperImapError(Exception):
    """Base class of every error that SuperIMAP raises on purpose. Each package defines its own family.

    SuperImapError
      SettingsError       core/environment.py       a setting is missing or invalid; fix the environment
      SecretFileError     core/secret_files.py      the file of a secret cannot be read
      KeyProviderError    core/key_providers.py     the provider of the encryption keys has none
      VaultError          core/crypto.py            a key is malformed or missing, or a value does not decrypt
      ContentStoreError   core/content_store.py     the object store failed, or has no such object
      EgressBlocked       core/egress.py            an address must not be dialled (also an OSError)
      RequestError        db/errors.py              a row cannot be read or changed as requested
      NotMigrated         db/ready.py               the schema is older than the code; run `superimap migrate`
      SessionNotKept      db/poolers.py             a pooler in transaction mode where a session is needed
      RolesNotCreated     db/privileges.py          the user of DATABASE_URL may not create roles
      Fenced              db/watching/intake.py     an idler wrote for a shard that it no longer owns
      ImapError           imap/errors.py            the mail server, or the connection to it, failed
      PlanError           domain/demand.py          an option of `superimap plan` is out of range
      InvalidCoefficients domain/coefficients.py    the file of coefficients lacks one, or one is no number
      ExportRefused       dispatcher/tracing/exporter.py  the collector of traces refuses a request for good
      UrlError            webhooks/urls.py          a URL of a partner is not valid
      TokenRefused        oauth/token_errors.py     the token endpoint refused the grant; asking again is useless
      TokenUnavailable    oauth/token_errors.py     the token endpoint gave no usable answer; ask again later
      IdentityError       oauth/identity.py         a consent does not show whose account it is for
      UntrustedToken      oauth/id_tokens.py        no key of the provider verifies an ID token
      UnusableKey         core/private_keys.py      the text is no private key that can sign
      ReturnUrlRefused    oauth/return_urls.py      a link names a return URL that the partner did not allow
      NothingToWatch      idler/session.py          a user is archived or deleted, or has other credentials
      UnexpectedFault     idler/session.py          an exception of an unexpected type ended a session
      ServerSuspended     idler/mailbox_memory.py   a mail server exceeds its bounds
      BacklogFull         idler/partner_holds.py    a partner's backlog has reached its quota
      NotSent             idler/tracer_smtp.py      a tracer was not sent, or perhaps not
      RemovedFromCluster  idler/ownership.py        the idler renewed its lease too late and must start again
      Problem             api/errors.py             an HTTP answer other than 2xx (RFC 9457)
      LoginsBusy          api/login_check.py        too many passwords are being checked at once
      ConnectFailed       api/routes/callback.py    a consent came back and cannot be completed
      ProviderRefused     api/dashboard/single_sign_on.py  nobody is signed in by the OpenID provider
      ListenError         core/listeners.py         a process cannot listen on its address
      CommandError        cli/running.py            a command cannot do what it was asked
      EmbeddedError       launch/engines/folders.py PostgreSQL or Valkey of `superimap up` does not start
      ServiceEnded        launch/services.py        a service of `superimap up` ended without an error
      PortBusy            launch/up.py              another process listens on the port of the API
      KeyMissing          launch/up.py              the data folder has no encryption key
      StressError         launch/stress/processes.py  a stress test cannot run, or a process of it does not start
    """


_RELEASED = (SuperImapError, asyncio.CancelledError)


class ReleasedFrames:
    """Drops the frames of a SuperImapError or cancellation that leaves the block, and of what has led to it.

    An object that keeps an error, which was raised in a frame that holds the object, is in a reference cycle: it
    stays until a full garbage collection, with all that the frames hold. So does a task that was cancelled.
    `contextlib.contextmanager` would put the frames back.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pending: list[BaseException | None] = [error] if isinstance(error, _RELEASED) else []
        seen: set[int] = set()
        while pending:
            each = pending.pop()
            if each is not None and id(each) not in seen:
                seen.add(id(each))
                each.__traceback__ = None
                pending += (each.__cause__, each.__context__)
