package consumertest

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// GroupProtocol is the group protocol of all jobs in tests that do not say another one: "consumer" (Kafka 4.3 or later), or the usual one
// if it is empty. It is STREAMER_TEST_GROUP_PROTOCOL.
var GroupProtocol = os.Getenv("STREAMER_TEST_GROUP_PROTOCOL")

// GroupTimes gives a group of the consumer protocol its session timeout and its heartbeat interval; of the classic one, members say these
// times themselves. The group need not exist yet.
func (c *Cluster) GroupTimes(t testing.TB, group string, session, heartbeat time.Duration) {
	t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	of := kmsg.NewIncrementalAlterConfigsRequestResource()
	of.ResourceType, of.ResourceName = kmsg.ConfigResourceTypeGroupConfig, group
	for name, value := range map[string]time.Duration{"consumer.session.timeout.ms": session, "consumer.heartbeat.interval.ms": heartbeat} {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Value = name, kmsg.StringPtr(strconv.FormatInt(value.Milliseconds(), 10))
		of.Configs = append(of.Configs, c)
	}
	req.Resources = append(req.Resources, of)
	resp, err := req.RequestWith(t.Context(), c.Client(t))
	if err == nil {
		err = kerr.ErrorForCode(resp.Resources[0].ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
}
