package consumer

import (
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Who is refused something by Kafka is told what to allow.
func TestRefusalsNamePermission(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{
		fmt.Errorf("x: %w", kerr.GroupAuthorizationFailed): "x: " + kerr.GroupAuthorizationFailed.Error() + "; this user needs DELETE on the group",
		kerr.TopicAuthorizationFailed:                      kerr.TopicAuthorizationFailed.Error() + "; this user needs DELETE on the group",
		kerr.NonEmptyGroup:                                 kerr.NonEmptyGroup.Error(),
	} {
		got := needing(err, "DELETE on the group")
		if got.Error() != want || !errors.Is(got, errors.Unwrap(err)) && !errors.Is(got, err) {
			t.Errorf("%v, want %s", got, want)
		}
	}
}
