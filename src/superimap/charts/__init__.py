"""Charts as SVG, made of numbers. Pure. Colours are classes, which a style sheet defines for light and dark."""
