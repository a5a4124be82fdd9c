"""Trial of watched folders: mails, moves, renames and deletions in five folders of many users."""
