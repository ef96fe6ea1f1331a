# Read by the official chart's command only to be shown. The worker takes no JVM options: PULSAR_MEM and PULSAR_GC have no effect.
