package consumertest

import "testing"

// A broker that has yet to listen, or is down for a while, keeps its ports: another process that comes by then takes others.
func TestPortsAreHeld(t *testing.T) {
	first, held, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close() }()
	nextBlock.Add(blocks - 1) // as of a process that looks at this block next
	other, also, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = also.Close() }()
	if other == first {
		t.Errorf("block %d was given twice", first)
	}
}
