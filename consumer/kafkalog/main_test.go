package kafkalog

import (
	"testing"

	"go.uber.org/goleak"

	"streamer/consumer/consumertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(consumertest.Main(m)) }
