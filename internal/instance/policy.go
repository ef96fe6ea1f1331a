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
	case pb.ProcessingGuarantees_ATLEAST_ONCE, pb.ProcessingGuarantees_MANUAL, pb.ProcessingGuarantees_EFFECTIVELY_ONCE:
	case pb.ProcessingGuarantees_ATMOST_ONCE:
		if !d.GetAutoAck() { //nolint:staticcheck // deprecated, but part of this guarantee
			return Policy{}, errors.New("processing guarantee ATMOST_ONCE needs autoAck to be true")
		}
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
	// AckUpTo acknowledges it and all before it in its partition, once these are done too.
	AckUpTo
	// Fatal ends the instance; what is not acknowledged comes again to the next run.
	Fatal
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
	switch p.guarantee {
	case pb.ProcessingGuarantees_ATLEAST_ONCE:
		return Ack
	case pb.ProcessingGuarantees_EFFECTIVELY_ONCE:
		return AckUpTo
	default:
		return Nothing
	}
}

// OnHandlerError is the answer when the handler failed. A message acknowledged before cannot come back, and one that is
// to be processed effectively once cannot be overtaken by those after it.
func (p Policy) OnHandlerError() Answer {
	switch p.guarantee {
	case pb.ProcessingGuarantees_ATMOST_ONCE:
		return Nothing
	case pb.ProcessingGuarantees_EFFECTIVELY_ONCE:
		return Fatal
	default:
		return Nack
	}
}

// OnSendError is the answer when the result could not be stored. With MANUAL the message is the handler's business.
func (p Policy) OnSendError() Answer {
	switch p.guarantee {
	case pb.ProcessingGuarantees_ATLEAST_ONCE:
		return Nack
	case pb.ProcessingGuarantees_EFFECTIVELY_ONCE:
		return Fatal
	default:
		return Nothing
	}
}

// Ordered is true when messages are acknowledged in their order and results carry sequence ids (EFFECTIVELY_ONCE).
func (p Policy) Ordered() bool { return p.guarantee == pb.ProcessingGuarantees_EFFECTIVELY_ONCE }

// Manual is true when only the handler acknowledges.
func (p Policy) Manual() bool { return p.guarantee == pb.ProcessingGuarantees_MANUAL }
