"""Pages for people: HTML without scripts, with one style sheet, and nothing from other hosts."""
