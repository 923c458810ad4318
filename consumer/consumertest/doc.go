// Package consumertest gives tests a Kafka: a real broker, shared by the tests of one process, three of them, one with TLS and
// SASL, or an embedded fake. Only tests, bench, chaos and the demo may import it.
//
// Where a real broker comes from, in this order:
//
//  1. KAFKA_BROKERS names one that already runs. What needs a broker of its own is then skipped.
//  2. A container engine answers and has the image streamer-test/kafka:VERSION: testcontainers-go starts it.
//  3. Java and Kafka's jars are there: test/realparts/kafka-local.sh starts it as a process.
//  4. Else the test is skipped, saying so; with CI=true it fails.
//
// test/realparts/setup.sh prepares 2 and 3 on a machine. KAFKA_VERSION chooses the version (default 4.1.2), and
// STREAMER_KAFKA_MODE=container or =process leaves only that choice. Everything listens on 127.0.0.1 only.
//
// A test on a real broker is called TestKafka… and stands in a file …_kafka_test.go, so that `make race` can leave it out and
// `make kafka` can run it alone; the functions here insist on the name. A package with such tests needs
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(consumertest.Main(m)) }
//
// which stops the shared brokers after the last test. What a killed run leaves behind is ended by a watcher (processes) or removed
// at the next start (containers).
//
// With STREAMER_REAL_KAFKA_LOG set, every real broker that starts adds one line to that file: the version which the broker itself
// wrote in its log, how it runs, its cluster id. CI reads it to be sure that the real thing took part.
package consumertest
