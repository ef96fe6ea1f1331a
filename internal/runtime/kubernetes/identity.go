package kubernetes

import (
	"crypto/sha256"
	"hash"
	"regexp"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// identity are the ids in a pod's command. A Java worker draws them at random; here they follow from the function, so
// that the command changes when the pods must be replaced (a new package, a new configuration) and only then.
type identity struct{ function, version, transform string }

func identityOf(meta *pb.FunctionMetaData) identity {
	d := meta.GetFunctionDetails()
	name := sum(func(h hash.Hash) { h.Write([]byte("function " + pb.FullyQualifiedName(d))) })
	version := sum(func(h hash.Hash) {
		for _, m := range []proto.Message{d, meta.GetPackageLocation(), meta.GetTransformFunctionPackageLocation(), meta.GetFunctionAuthSpec()} {
			data, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m) // a message that was read can be written
			h.Write(data)
			h.Write([]byte{0})
		}
	})
	transform := sum(func(h hash.Hash) { h.Write([]byte("transform " + version)) })
	return identity{name, version, transform}
}

// sum makes a UUID of version 8 (RFC 9562: content of one's own), which no Java worker draws.
func sum(write func(hash.Hash)) string {
	h := sha256.New()
	write(h)
	var id uuid.UUID
	copy(id[:], h.Sum(nil))
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

const anyUUID = `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`

var (
	idsInCommand     = regexp.MustCompile(`(--function_id |--function_version |--transform_function_id |"funcID":"|"funcVersion":")` + anyUUID)
	versionInCommand = regexp.MustCompile(`(?:--function_version |"funcVersion":")(` + anyUUID + `)`)
)

// withoutIDs blanks the ids, to compare commands whatever worker wrote them.
func withoutIDs(command string) string { return idsInCommand.ReplaceAllString(command, "${1}-") }

// ourVersion is the function version in a command of this worker, "" in one of a Java worker.
func ourVersion(command string) string {
	m := versionInCommand.FindStringSubmatch(command)
	if m == nil {
		return ""
	}
	if id, err := uuid.Parse(m[1]); err != nil || id.Version() != 8 {
		return ""
	}
	return m[1]
}
