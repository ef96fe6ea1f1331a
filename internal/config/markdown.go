package config

import (
	"fmt"
	"io"
	"strings"
)

//go:generate go run ./gendocs ../../docs/configuration.md

// WriteMarkdown writes docs/configuration.md from the declaration of the keys.
func WriteMarkdown(out io.Writer) error {
	var b strings.Builder
	b.WriteString(docIntroduction)
	section := ""
	for _, k := range Keys() {
		if k.Section != section {
			section = k.Section
			fmt.Fprintf(&b, "\n## %s\n", section)
			if k.Name == "goWorker" {
				b.WriteString("\nThe section `goWorker:` is ignored by Java workers, so that one file serves both. A size is a number of bytes or has a unit " +
					"(`KiB`, `MiB`, `GiB`); a duration has a unit (`ms`, `s`, `m`, `h`).\n")
			}
			tableHead(&b)
		}
		if k.Name == "goWorker" {
			rows(&b, k.Nested, "goWorker.")
			continue
		}
		row(&b, k, "")
	}
	b.WriteString("\n## Settings of the runtimes\n\nUnder `functionRuntimeFactoryConfigs` (or the legacy objects `processContainerFactory`, `threadContainerFactory`, `kubernetesContainerFactory`).\n")
	for _, r := range []struct {
		title string
		kind  RuntimeKind
	}{{"Process", RuntimeProcess}, {"Thread", RuntimeThread}, {"Kubernetes", RuntimeKubernetes}} {
		fmt.Fprintf(&b, "\n### %s\n", r.title)
		tableHead(&b)
		rows(&b, RuntimeKeys(r.kind), "")
	}
	b.WriteString("\n## Resources\n\nFields of `functionInstanceMinResources`, `functionInstanceMaxResources` and `functionInstanceResourceGranularities`. " +
		"A field written as null is not checked.\n")
	tableHead(&b)
	for _, k := range Keys() {
		if k.Name == "functionInstanceMinResources" {
			rows(&b, k.Nested, "")
		}
	}
	b.WriteString("\n## Class names\n\nClass names select the implementation, as in a file for the Java worker. An unknown name stops the start.\n\n| Key | Names |\n|---|---|\n")
	classes := ClassNames()
	for _, key := range sortedKeys(classes) {
		fmt.Fprintf(&b, "| `%s` | `%s` |\n", key, strings.Join(classes[key], "`<br>`"))
	}
	b.WriteString(docTail)
	if _, err := io.WriteString(out, b.String()); err != nil {
		return fmt.Errorf("writing the documentation of the keys: %w", err)
	}
	return nil
}

func tableHead(b *strings.Builder) {
	b.WriteString("\n| Key | Type | Default | Distributed | Applies | Meaning |\n|---|---|---|---|---|---|\n")
}

func rows(b *strings.Builder, keys []Key, prefix string) {
	for _, k := range keys {
		if prefix != "" && len(k.Nested) > 0 {
			rows(b, k.Nested, prefix+k.Name+".")
			continue
		}
		row(b, k, prefix)
	}
}

func row(b *strings.Builder, k Key, prefix string) {
	byDefault := code(k.Default)
	if k.JavaDefault != "" {
		byDefault += " (Java: " + code(k.JavaDefault) + ")"
	}
	if k.Required {
		byDefault = "**required**"
	}
	meaning := k.Description
	if len(k.Accept) > 0 {
		meaning += " One of `" + strings.Join(k.Accept, "`, `") + "`."
	}
	if k.Secret == "mask" || k.Secret == "params" {
		meaning += " Never printed."
	}
	for _, cell := range []string{code(prefix + k.Name), k.Type, byDefault, code(k.Dist), k.Category, escapeCell(meaning)} {
		b.WriteString("| " + cell + " ")
	}
	b.WriteString("|\n")
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// escapeCell keeps a text inside its cell, and placeholders from being taken for HTML.
func escapeCell(text string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;", ">", "&gt;").Replace(text)
}

const docIntroduction = `# Configuration

<!-- Generated from internal/config by "go generate ./internal/config"; edit the struct tags there. -->

The worker reads the same ` + "`functions_worker.yml`" + ` as the Java worker. ` + "`conf/functions_worker.yml`" + ` is a commented sample; the file of a Pulsar
distribution works unchanged. ` + "`functions-worker check`" + ` examines a file, and what it names, without starting a worker.

Where the settings come from, later ones winning:

1. the file: ` + "`-c <file>`" + `, else ` + "`PULSAR_WORKER_CONF`" + `, else ` + "`conf/functions_worker.yml`" + ` of the Pulsar home (` + "`PULSAR_HOME`" + `);
2. environment variables ` + "`PF_<key>`" + `, as the container images and the Helm chart use them: every ` + "`_`" + ` starts a level
   (` + "`PF_functionRuntimeFactoryConfigs_logDirectory`" + `), values are text that is converted to the type of the key, and lists have commas.
   They are applied by the worker itself; it makes no difference whether ` + "`gen-yml-from-env.py`" + ` has written them into the file before.
   ` + "`PF_containerFactory`" + ` (` + "`k8s`, `process`, `thread`" + `) drops the two other legacy runtime objects. For ` + "`properties`" + `, levels are joined again with ` + "`_`" + `
   (` + "`PF_properties_brokerClient_operationTimeoutMs`" + `);
3. ` + "`--set key=value`" + ` on the command line, nested keys with dots (` + "`--set goWorker.logLevel=debug`" + `).

All problems are reported together, each with the key, the value (masked when it may be secret), what is accepted, and what to do. A key that is not known
gives a warning with the nearest known key. A blank number or boolean takes its default and gives a warning (a Java worker reads 0 or false); a blank list
or map is empty; any list may also be written as one text with commas. Relative paths refer to the Pulsar home.

Column *Applies*: **A** as in the Java worker; **N** with the note given; **J** only a JVM has a use for it, accepted and ignored, with one warning when it was
changed; **U** read by no worker. *Distributed* is the value in the file of Pulsar 4.0.8 where it differs from the default.
`

const docTail = `
## Properties

Entries of ` + "`properties`" + ` are read by the authentication providers (` + "`tokenSecretKey`, `tokenPublicKey`, `tokenPublicAlg`, `tokenAuthClaim`, `tokenAudienceClaim`, `tokenAudience`, `tokenAllowedClockSkewSeconds`, `tokenSettingPrefix`, `openID…`, `basicAuthConf`" + `)
and, with the prefix ` + "`brokerClient_`" + `, by the worker's own clients: ` + "`operationTimeoutMs`, `lookupTimeoutMs`, `connectionTimeoutMs`, `keepAliveIntervalSeconds`, `connectionsPerBroker`, `listenerName`, `requestTimeoutMs`, `readTimeoutMs`, `memoryLimitBytes`" + ` and the TLS settings.
Explicit keys win over them. Others are kept and have no effect.

## What the environment sets besides PF_ variables

| Variable | Use |
|---|---|
| ` + "`PULSAR_WORKER_CONF`" + ` | configuration file when ` + "`-c`" + ` is not given |
| ` + "`PULSAR_HOME`" + ` | directory to which relative paths refer; else the working directory |
| ` + "`PULSAR_JAVA_INSTANCE_JAR`, `PULSAR_PY_INSTANCE_FILE`, `PULSAR_FUNCTIONS_EXTRA_DEPS_DIR`, `PULSAR_LOG_DIR`" + ` | settings of the process runtime that the file leaves blank |
| ` + "`FUNCTIONS_LOG_CONF`" + ` | log4j configuration of Java instances |
| ` + "`PULSAR_LOG_CONF`, `PULSAR_CLASSPATH`, `PULSAR_EXTRA_CLASSPATH`" + ` | class path of Java instances |
`
