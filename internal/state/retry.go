package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/functions-worker/functions-worker/internal/state/tablepb"
)

// Pauses between attempts, each with jitter. The first is short, as a new table answers after some tenths of a second.
const (
	firstPause = 50 * time.Millisecond
	maxPause   = 2 * time.Second
)

// answerError is an answer of the service other than success.
type answerError struct{ code tablepb.StatusCode }

func (e answerError) Error() string { return "the table service answers " + e.code.String() }

// errNotCreated: a table is still missing after its creation; another attempt may find it.
var errNotCreated = errors.New("the table service did not create the table")

// answered is nil for success.
func answered(code tablepb.StatusCode) error {
	if code == tablepb.StatusCode_SUCCESS {
		return nil
	}
	return answerError{code}
}

func isAnswer(err error, wanted ...tablepb.StatusCode) bool {
	var a answerError
	if !errors.As(err, &a) {
		return false
	}
	for _, code := range wanted {
		if a.code == code {
			return true
		}
	}
	return false
}

// transient tells whether another attempt may succeed: the service is away, is moving the range to another bookie, or
// does not know yet where the range of a new table is (gRPC status NOT_FOUND). It calls most of its own failures
// INTERNAL_SERVER_ERROR, also a lost race between two creations.
func transient(err error) bool {
	if unknown := (unknownError{}); errors.As(err, &unknown) {
		return false
	}
	if errors.Is(err, errNotCreated) {
		return true
	}
	var a answerError
	if errors.As(err, &a) {
		switch a.code {
		case tablepb.StatusCode_INTERNAL_SERVER_ERROR, tablepb.StatusCode_FAILURE, tablepb.StatusCode_UNEXPECTED,
			tablepb.StatusCode_WRONG_GROUP_LOCATION, tablepb.StatusCode_STALE_GROUP_INFO, tablepb.StatusCode_GROUP_NOT_FOUND:
			return true
		}
		return false
	}
	s, ok := status.FromError(err)
	if !ok {
		return false
	}
	switch s.Code() {
	case codes.Unavailable, codes.NotFound, codes.Internal, codes.Unknown, codes.Aborted, codes.DeadlineExceeded:
		return true
	}
	return false
}

// retry attempts until success, an error that stays, the end of ctx, or limit. Every attempt has its own deadline, so
// that one lost packet does not take all the time there is.
func retry(ctx context.Context, limit, perCall time.Duration, attempt func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last error
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		call, done := context.WithTimeout(limited, perCall)
		err := attempt(call)
		done()
		if err == nil || !transient(err) {
			return err
		}
		// An attempt that the limit cut says less than the one before it.
		if last == nil || limited.Err() == nil {
			last = err
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return fmt.Errorf("%w; the last attempt: %w", context.Cause(ctx), last)
			}
			return fmt.Errorf("no success in %s: %w", limit, last)
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
	}
}

// unknownError keeps an attempt from being made again, because the one before may have been done.
type unknownError struct{ error }

func (e unknownError) Unwrap() error { return e.error }

// onlyIfNotDone lets an operation be tried again only where the service did surely not do it: it did not know where the
// range is, or could not be reached at all.
func onlyIfNotDone(err error) error {
	if err == nil || !transient(err) {
		return err
	}
	if isAnswer(err, tablepb.StatusCode_WRONG_GROUP_LOCATION, tablepb.StatusCode_STALE_GROUP_INFO, tablepb.StatusCode_GROUP_NOT_FOUND) || status.Code(err) == codes.NotFound {
		return err
	}
	return unknownError{fmt.Errorf("it is not known whether it was done: %w", err)}
}
