"""What the engine tells of itself: figures for Prometheus, spans, its status in Redis, alerts.

`metrics` and `spans` hold what is told, `meters`, `order_meters` and `tracing` read the parts, `report`,
`otlp` and `alerts` send it out. No part knows that it is watched.
"""
