package control

import "streamer/control/service"

// Problem is service.Problem.
type Problem = service.Problem

// refuse is service.Refuse.
func refuse(status int, field, detail, mend string) *Problem {
	return service.Refuse(status, field, detail, mend)
}
