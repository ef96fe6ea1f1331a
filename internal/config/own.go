package config

import "time"

// ByteSize is a number of bytes, written as a number or with a unit: 64KiB, 512MiB, 2GiB.
type ByteSize int64

// GoWorker are the settings that only this worker knows. Java workers ignore the whole section, so that one file
// serves both.
type GoWorker struct {
	PackageStore                  string   `yaml:"packageStore" accept:"topic|broker|filesystem" cat:"A" desc:"Where uploaded packages are kept: topic = one topic per package in pulsarFunctionsNamespace, broker = the broker's packages service, filesystem = packageDirectory, shared by all workers. Blank: broker when functionsWorkerEnablePackageManagement is true, else topic. Workers of one cluster must agree; Java workers can read only broker."`
	PackageDirectory              string   `yaml:"packageDirectory" cat:"A" desc:"Directory of packageStore filesystem."`
	MaxPackageSize                ByteSize `yaml:"maxPackageSize" default:"2GiB" min:"1" cat:"A" desc:"Largest package that is taken, stored or downloaded."`
	TempDirectory                 string   `yaml:"tempDirectory" cat:"A" desc:"Directory for uploads under way. Blank: the temporary directory of the system."`
	StartParallelism              int      `yaml:"startParallelism" default:"0" cat:"A" desc:"Instances started or downloaded for at once; 0: two per processor, at least four."`
	RestartBackoffInitial         duration `yaml:"restartBackoffInitial" default:"1s" cat:"A" desc:"Pause before the first restart of an instance that ended."`
	RestartBackoffMax             duration `yaml:"restartBackoffMax" default:"1m" cat:"A" desc:"Longest pause between restarts; the pause doubles up to it."`
	RestartBackoffReset           duration `yaml:"restartBackoffReset" default:"5m" cat:"A" desc:"An instance that ran this long starts again with the initial pause."`
	InstanceStopTimeout           duration `yaml:"instanceStopTimeout" default:"7s" cat:"A" desc:"Time between asking an instance to stop and killing it; the default lets the whole worker stop within 10 s."`
	InstanceCallTimeout           duration `yaml:"instanceCallTimeout" default:"5s" cat:"A" desc:"Longest wait for an instance's answer to a status, metrics or health request."`
	ScrapeTimeout                 duration `yaml:"scrapeTimeout" default:"2s" cat:"A" desc:"Longest wait for an instance's own metrics while /metrics is served."`
	ShutdownTimeout               duration `yaml:"shutdownTimeout" default:"30s" cat:"A" desc:"Longest time for an orderly stop of the worker."`
	LogLevel                      string   `yaml:"logLevel" default:"info" accept:"debug|info|warn|error" cat:"A" desc:"Least severity that is logged."`
	LogFormat                     string   `yaml:"logFormat" default:"console" accept:"console|json" cat:"A" desc:"Form of log lines."`
	FunctionsUseWorkerCredentials bool     `yaml:"functionsUseWorkerCredentials" default:"false" cat:"A" desc:"With authenticationEnabled: functions that have no credentials of their own reach the broker with the worker's, usually a superuser's, as with Java workers. False: they do not start, and without functionAuthProviderClassName the worker does not."`
	AuthorizationCache            duration `yaml:"authorizationCache" default:"5s" min:"1" cat:"A" desc:"How long what the broker says about tenants and permissions is kept; a revoked right may live that long."`
	ListenAddress                 string   `yaml:"listenAddress" cat:"A" desc:"Address that the listeners bind; blank: all."`
	PulsarHome                    string   `yaml:"pulsarHome" cat:"A" desc:"Directory of the Pulsar distribution, to which relative paths refer. Blank: PULSAR_HOME, else the working directory."`
	JavaExecutable                string   `yaml:"javaExecutable" default:"java" cat:"A" desc:"Program that runs Java instances; looked up in PATH."`
	PythonExecutable              string   `yaml:"pythonExecutable" default:"python3" cat:"A" desc:"Program that runs Python instances; looked up in PATH."`
	InstanceClassPath             string   `yaml:"instanceClassPath" cat:"A" desc:"Value of pulsar.functions.instance.classpath of Java instances. Blank: the directory of PULSAR_LOG_CONF, lib/* of the Pulsar home, PULSAR_EXTRA_CLASSPATH."`
}

type duration = time.Duration
