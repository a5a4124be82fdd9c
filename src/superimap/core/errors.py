"""Which families of errors are there? Each package refines its own below this root."""


class SuperImapError(Exception):
    """Whatever SuperIMAP raises on purpose.

    SuperImapError
      ImapError      imap/errors.py    the mail server, or the way to it
    """
