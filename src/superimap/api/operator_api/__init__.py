"""API for operators and their programs: /api/v1/operator."""
