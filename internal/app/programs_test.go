package app

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/wasm"
)

type host struct{ err error }

func (h host) HostsPrograms() error { return h.err }

func TestCheckPackage(t *testing.T) {
	module := filepath.Join("..", "..", "examples", "wasm", "exclamation-c", "exclamation.wasm")
	binary := filepath.Join(t.TempDir(), "binary")
	require.NoError(t, os.WriteFile(binary, []byte("\x7fELF and more"), 0o600))
	limits := wasm.DefaultLimits()
	inGo := &pb.FunctionDetails{Runtime: pb.FunctionDetails_GO}
	inJava := &pb.FunctionDetails{Runtime: pb.FunctionDetails_JAVA}
	withOptions := func(options string) *pb.FunctionDetails {
		return &pb.FunctionDetails{Runtime: pb.FunctionDetails_GO, CustomRuntimeOptions: options}
	}
	err := errors.New("no image")
	for name, tt := range map[string]struct {
		pods             podHost
		d                *pb.FunctionDetails
		file, fileName   string
		wantName, wantIn string // wantIn: of the error
	}{
		"a module":                                   {d: inGo, file: module, fileName: "m", wantName: "m.wasm"},
		"a module for a pod":                         {pods: host{}, d: inGo, file: module, fileName: "m.WASM", wantName: "m.WASM"},
		"a module of another name":                   {pods: host{}, d: inGo, file: module, fileName: "download?id=1", wantName: "download?id=1.wasm"},
		"a binary for a pod":                         {pods: host{}, d: inGo, file: binary, fileName: "b", wantName: "b"},
		"a binary called like a module":              {pods: host{}, d: inGo, file: binary, fileName: "b.wasm", wantIn: "it is no WebAssembly module"},
		"no image for its pod":                       {pods: host{err}, d: inGo, file: module, fileName: "m", wantIn: "no image"},
		"a binary needs no such image":               {pods: host{err}, d: inGo, file: binary, fileName: "b", wantName: "b"},
		"the same outside of pods":                   {d: inGo, file: binary, fileName: "b.wasm", wantName: "b.wasm"},
		"a Java package is somebody else's business": {pods: host{}, d: inJava, file: module, fileName: "x", wantName: "x"},
		"an update without a package":                {d: withOptions("anything"), fileName: "x", wantName: "x"},
		"its options are judged":                     {d: withOptions(`{"wasm":{"timeout":"2h"}}`), wantIn: "goWorker.wasm.maxTimeout"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := checkPackage(limits, tt.pods)(tt.d, tt.file, tt.fileName)
			if tt.wantIn != "" {
				require.ErrorContains(t, err, tt.wantIn)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.wantName, got)
		})
	}
}
