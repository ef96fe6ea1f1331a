package archive

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

// The table holds one line per public class of the JDK and of what every Java instance of Pulsar has on its class
// path, which are found before the classes of a package (contract component-configs 8.1). platformgen writes it.
//
//go:generate go run ./platformgen -out platform.gz
//go:embed platform.gz
var platformData []byte

// platformLines maps a class to its line. It is decoded once, when the first class is looked up, and never changes.
var platformLines = sync.OnceValue(func() map[string]string {
	zr, err := gzip.NewReader(bytes.NewReader(platformData))
	if err != nil {
		panic(fmt.Sprintf("built-in table of classes: %v", err)) // the build is broken
	}
	text, err := io.ReadAll(zr)
	if err != nil {
		panic(fmt.Sprintf("built-in table of classes: %v", err))
	}
	lines := make(map[string]string, 16<<10)
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		lines[name] = rest
	}
	return lines
})

func platformClass(name string) *Class {
	line, ok := platformLines()[name]
	if !ok {
		return nil
	}
	return parsePlatformLine(name, line)
}

// FormatPlatformLine writes a class as a line of the built-in table; platformgen calls it.
func FormatPlatformLine(c *Class) string {
	methods := ""
	for _, m := range c.Methods {
		if m.Name == "<init>" && m.Descriptor == mapConstructor {
			methods = "map"
		}
	}
	return fmt.Sprintf("%s\t%x\t%s\t%s\t%s\t%s\n", c.Name, c.Access, c.Super, strings.Join(c.Interfaces, ","), c.Signature, methods)
}

func parsePlatformLine(name, line string) *Class {
	part := strings.Split(line, "\t")
	access, _ := strconv.ParseUint(part[0], 16, 16)
	c := &Class{Name: name, Access: uint16(access), Super: part[1], Signature: part[3]}
	if part[2] != "" {
		c.Interfaces = strings.Split(part[2], ",")
	}
	if part[4] == "map" {
		c.Methods = []Member{{Name: "<init>", Descriptor: mapConstructor}}
	}
	return c
}
