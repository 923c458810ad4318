package kafkalog

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"streamer/consumer/consumertest"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(writerEnv); what != "" { // a process that a test has started
		if err := writerProcess(what); err != nil {
			fmt.Fprintln(os.Stderr, "writer:", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(consumertest.Main(m))
}
