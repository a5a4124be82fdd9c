"""Fuzzing: mutated mails for the parser, and mutated dialogues of real mail servers for the idler."""
