package instance

import (
	"errors"
	"fmt"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// Policy decides when an input message is acknowledged (process contract, section 9.3).
type Policy struct{ guarantee pb.ProcessingGuarantees }

// NewPolicy refuses combinations that cannot be kept.
func NewPolicy(d *pb.FunctionDetails) (Policy, error) {
	g := d.GetProcessingGuarantees()
	switch g {
	case pb.ProcessingGuarantees_ATLEAST_ONCE, pb.ProcessingGuarantees_MANUAL:
	case pb.ProcessingGuarantees_ATMOST_ONCE:
		if !d.GetAutoAck() { //nolint:staticcheck // deprecated, but part of this guarantee
			return Policy{}, errors.New("processing guarantee ATMOST_ONCE needs autoAck to be true")
		}
	case pb.ProcessingGuarantees_EFFECTIVELY_ONCE:
		return Policy{}, errors.New("processing guarantee EFFECTIVELY_ONCE is not supported by Go functions; use ATLEAST_ONCE")
	default:
		return Policy{}, fmt.Errorf("processing guarantee %d is not known", g)
	}
	return Policy{guarantee: g}, nil
}

// Answer is what to tell the broker about a message.
type Answer int

const (
	// Nothing leaves the message as it is.
	Nothing Answer = iota
	// Ack acknowledges it.
	Ack
	// Nack asks for its redelivery.
	Nack
)

// OnReceive is the answer before the handler is called.
func (p Policy) OnReceive() Answer {
	if p.guarantee == pb.ProcessingGuarantees_ATMOST_ONCE {
		return Ack
	}
	return Nothing
}

// OnDone is the answer when the message is done with: the handler gave no result, or the result is stored.
func (p Policy) OnDone() Answer {
	if p.guarantee == pb.ProcessingGuarantees_ATLEAST_ONCE {
		return Ack
	}
	return Nothing
}

// OnHandlerError is the answer when the handler failed. A message acknowledged before cannot come back.
func (p Policy) OnHandlerError() Answer {
	if p.guarantee == pb.ProcessingGuarantees_ATMOST_ONCE {
		return Nothing
	}
	return Nack
}

// OnSendError is the answer when the result could not be stored. With MANUAL the message is the handler's business.
func (p Policy) OnSendError() Answer {
	if p.guarantee == pb.ProcessingGuarantees_ATLEAST_ONCE {
		return Nack
	}
	return Nothing
}

// Manual is true when only the handler acknowledges.
func (p Policy) Manual() bool { return p.guarantee == pb.ProcessingGuarantees_MANUAL }
