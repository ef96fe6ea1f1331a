package component

// The interfaces of connectors, and the record that a sink's transform function must give.
const (
	ioSource      = "org.apache.pulsar.io.core.Source"
	ioBatchSource = "org.apache.pulsar.io.core.BatchSource"
	ioSink        = "org.apache.pulsar.io.core.Sink"
	apiRecord     = "org.apache.pulsar.functions.api.Record"
)
