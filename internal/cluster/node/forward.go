package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/functions-worker/functions-worker/internal/pb"
)

const (
	forwardTimeout = 60 * time.Second // longer than a leader may take to write
	maxHops        = 5                // as the Java client
	maxReason      = 64 << 10
)

// forwardHTTP sends a write to the leader at its advertised address (section 3.4; rest-api contract 8.3). The path is
// the same for functions, sinks and sources.
func (n *Node) forwardHTTP(ctx context.Context, to cluster.WorkerInfo, meta *pb.FunctionMetaData, deletion bool) error {
	body, contentType, err := leaderForm(meta, deletion)
	if err != nil {
		return cluster.WriteError{Err: err}
	}
	scheme := "http"
	if n.opts.TLS {
		scheme = "https"
	}
	d := meta.GetFunctionDetails()
	target := scheme + "://" + net.JoinHostPort(to.Hostname, strconv.Itoa(to.Port)) + "/admin/v3/functions/leader/" +
		url.PathEscape(d.GetTenant()) + "/" + url.PathEscape(d.GetNamespace()) + "/" + url.PathEscape(d.GetName())
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, target, bytes.NewReader(body)) // a reader that a 307 can send again
	if err != nil {
		return cluster.WriteError{Err: err}
	}
	request.Header.Set("Content-Type", contentType)
	client := *n.opts.HTTP
	client.CheckRedirect = func(_ *http.Request, via []*http.Request) error {
		if len(via) > maxHops {
			return fmt.Errorf("more than %d redirects", maxHops)
		}
		return nil
	}
	response, err := client.Do(request)
	if err != nil {
		n.log.Warn("cannot hand a change to the leader", zap.String("leader", to.WorkerID), zap.String("url", target), zap.Error(err))
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return cluster.ErrLeaderNotReady // it never left
		}
		return cluster.WriteError{Err: fmt.Errorf("handing the change to the leader %s: %w", to.WorkerID, err)}
	}
	defer response.Body.Close()
	if response.StatusCode/100 == 2 {
		return nil
	}
	return cluster.RemoteError{Status: response.StatusCode, Reason: reasonOf(response)}
}

// leaderForm is the body a Java leader takes: both parts without a file name.
func leaderForm(meta *pb.FunctionMetaData, deletion bool) ([]byte, string, error) {
	data, err := proto.Marshal(meta)
	if err != nil {
		return nil, "", fmt.Errorf("encoding function metadata: %w", err)
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreatePart(map[string][]string{
		"Content-Disposition": {`form-data; name="functionMetaData"`}, "Content-Type": {"application/octet-stream"}})
	if err == nil {
		_, err = part.Write(data)
	}
	if err == nil {
		err = form.WriteField("delete", strconv.FormatBool(deletion))
	}
	if err = errors.Join(err, form.Close()); err != nil {
		return nil, "", fmt.Errorf("building the request for the leader: %w", err)
	}
	return body.Bytes(), form.FormDataContentType(), nil
}

// reasonOf finds the words of an error answer: {"reason": …}, else the text, else the status.
func reasonOf(response *http.Response) string {
	data, _ := io.ReadAll(io.LimitReader(response.Body, maxReason)) // half a reason is better than none
	var body struct {
		Reason string `json:"reason"`
	}
	if json.Unmarshal(data, &body) == nil && body.Reason != "" {
		return body.Reason
	}
	if text := strings.TrimSpace(string(data)); text != "" && !strings.HasPrefix(text, "<") && !strings.HasPrefix(text, "{") {
		return text
	}
	return http.StatusText(response.StatusCode)
}
