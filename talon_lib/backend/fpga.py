class FPGABackend:
    pass
