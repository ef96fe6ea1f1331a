package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// leaderHandler answers PUT …/functions/leader/… as a Java worker does.
func leaderHandler(n *Node) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut || !strings.HasPrefix(r.URL.Path, "/admin/v3/functions/leader/") {
			http.NotFound(w, r)
			return
		}
		if err := r.ParseMultipartForm(1 << 20); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var meta pb.FunctionMetaData
		if err := proto.Unmarshal([]byte(r.FormValue("functionMetaData")), &meta); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		err := n.WriteAsLeader(r.Context(), &meta, r.FormValue("delete") == "true")
		var redirect cluster.RedirectError
		switch {
		case err == nil:
			w.WriteHeader(http.StatusNoContent)
			return
		case errors.As(err, &redirect):
			http.Redirect(w, r, fmt.Sprintf("http://%s:%d%s", redirect.To.Hostname, redirect.To.Port, r.URL.Path), http.StatusTemporaryRedirect)
			return
		case errors.As(err, &cluster.ErrOutdated{}):
			w.WriteHeader(http.StatusBadRequest)
		case errors.Is(err, cluster.ErrLeaderNotReady):
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"reason": err.Error()})
	})
}
