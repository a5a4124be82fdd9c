"""IMAP client. Independent of users and of the database; `connection.connect` opens a session."""
