"""Which families of errors are there? Each package refines its own below this root."""


class SuperImapError(Exception):
    """Whatever SuperIMAP raises on purpose.

    SuperImapError
      ImapError      imap/errors.py    the mail server, or the way to it
      Fenced              db/watching/intake.py   an idler wrote for a shard that it no longer owns
      NothingToWatch      idler/session.py        a user is archived or deleted, or has other credentials
      UnexpectedFault     idler/session.py        an exception of an unexpected type ended a session
      RemovedFromCluster  idler/ownership.py      the idler was silent for too long and must start again
    """
