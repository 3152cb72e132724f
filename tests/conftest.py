import os

from hypothesis import settings

# no deadline: shared machines stall; no example database: a run leaves nothing behind but its result
settings.register_profile("talon", deadline=None, max_examples=100, database=None, derandomize="CI" in os.environ)
settings.load_profile("talon")
