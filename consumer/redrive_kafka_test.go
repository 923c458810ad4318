package consumer

import (
	"testing"

	"streamer/consumer/consumertest"
)

func TestKafkaRedrive(t *testing.T) { redriveRound(t, consumertest.Kafka(t)) }

func TestKafkaAKeyIsParkedUntilItIsRedriven(t *testing.T) { parkRound(t, consumertest.Kafka(t)) }
