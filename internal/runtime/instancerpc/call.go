// Package instancerpc makes calls to instances and words how calls to instances fail, the same for every runtime: as grpc-java does, because clients of
// Java workers know these texts (process contract, section 6).
package instancerpc

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Call runs one request under the earlier of ctx's deadline and the timeout. Its errors are *CallError.
func Call[T any](ctx context.Context, timeout time.Duration, f func(context.Context, *emptypb.Empty, ...grpc.CallOption) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := f(ctx, &emptypb.Empty{})
	if err != nil {
		return answer, callError(err)
	}
	return answer, nil
}

// CallError is a failed call to an instance, worded as grpc-java does (process contract, section 6).
type CallError struct {
	Code        codes.Code
	Description string
}

func (e *CallError) Error() string {
	name := codeName(e.Code)
	if e.Description == "" {
		return name
	}
	return name + ": " + e.Description
}

func callError(err error) error {
	s := status.Convert(err)
	e := &CallError{s.Code(), s.Message()}
	switch s.Code() {
	case codes.Unavailable: // Go names addresses and system calls here; clients of Java workers know this text
		e.Description = "io exception"
	case codes.DeadlineExceeded:
		e.Description = "the instance did not answer in time"
	}
	return e
}

var codeNames = map[codes.Code]string{
	codes.OK: "OK", codes.Canceled: "CANCELLED", codes.Unknown: "UNKNOWN", codes.InvalidArgument: "INVALID_ARGUMENT",
	codes.DeadlineExceeded: "DEADLINE_EXCEEDED", codes.NotFound: "NOT_FOUND", codes.AlreadyExists: "ALREADY_EXISTS",
	codes.PermissionDenied: "PERMISSION_DENIED", codes.ResourceExhausted: "RESOURCE_EXHAUSTED",
	codes.FailedPrecondition: "FAILED_PRECONDITION", codes.Aborted: "ABORTED", codes.OutOfRange: "OUT_OF_RANGE",
	codes.Unimplemented: "UNIMPLEMENTED", codes.Internal: "INTERNAL", codes.Unavailable: "UNAVAILABLE",
	codes.DataLoss: "DATA_LOSS", codes.Unauthenticated: "UNAUTHENTICATED",
}

func codeName(c codes.Code) string {
	if n, ok := codeNames[c]; ok {
		return n
	}
	return strings.ToUpper(c.String())
}
