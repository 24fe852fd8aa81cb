"""Background loops: each file is one service, each service is one tick; `service.py` is the only loop there is."""
