"""Pages for the person behind a mailbox: no script, one style sheet, nothing from elsewhere."""
