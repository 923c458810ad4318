package control

import (
	"context"
	"errors"
	"net/http"

	"streamer/consumer"
	"streamer/consumer/kafkalog"
	"streamer/control/service"
)

// kafkaProblem is what a caller is told when Kafka, or the log in it, did not do what he has asked for. what says what was to be done. A
// refusal stays what it is; what another version has written is in conflict with this one; all else may go better a moment later.
func kafkaProblem(what string, err error) error {
	var told *service.Problem
	var unreadable *UnreadableError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &told):
		return told
	case errors.As(err, &unreadable):
		return service.Refuse(http.StatusConflict, "", unreadable.Error(), "use an instance of that version")
	case errors.As(err, new(*consumer.RefusedError)):
		return service.Refuse(http.StatusConflict, "", err.Error(), "")
	case errors.Is(err, kafkalog.ErrTooLarge):
		return service.Refuse(http.StatusRequestEntityTooLarge, "", err.Error(), "")
	case errors.Is(err, kafkalog.ErrReadOnly):
		return service.Unmended(err.Error())
	case errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, kafkalog.ErrUnknown):
		what += ": Kafka did not answer in time"
	default:
		what += ": " + err.Error()
	}
	return service.Unavailable(what)
}

// logProblem is kafkaProblem of the log.
func logProblem(err error) error {
	return kafkaProblem("the log in Kafka cannot be read or written", err)
}

// permits refuses a caller who may not operate a job as the log has it now. It is for the decision on a write: whoever was asked before
// may have known another owner.
func permits(d interface {
	OwnerOf(id string) (string, bool)
}, by service.Caller, job string) error {
	if owner, known := d.OwnerOf(job); known && !by.May(service.Operate, owner) {
		return service.Denied(by, service.Operate, "job \""+job+"\"", owner)
	}
	return nil
}
