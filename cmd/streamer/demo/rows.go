package demo

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"time"

	"streamer/schemas/schemastest"
)

//go:embed records/household.avsc
var householdSchema string

//go:embed records/measurement.avsc
var measurementSchema string

// row is what the demo remembers of a row it has produced.
type row struct {
	// index is its place in the record; checker.WholeRecord for a record that cannot be read.
	index int
	// lane is the value by which the jobs keep order. Aether's records have no key, so that rows of one id may lie in several
	// partitions: order holds within each.
	lane string
	// poison: the API will refuse it. approved and fever say which jobs want it.
	poison, approved, fever bool
}

// household and measurement are rows as their schemas have them, in plain JSON.
type household struct {
	ID       string   `json:"id"`
	Village  string   `json:"village"`
	Members  int      `json:"members"`
	Visit    int      `json:"visit"`
	Phone    *string  `json:"phone"`
	Location location `json:"location"`
}

type location struct {
	Latitude  float32 `json:"latitude"`
	Longitude float32 `json:"longitude"`
}

type measurement struct {
	ID       string  `json:"id"`
	Patient  string  `json:"patient"`
	Number   int     `json:"number"`
	Celsius  float32 `json:"celsius"`
	TakenAt  int64   `json:"taken_at"`
	Approved bool    `json:"approved"`
}

// How many ids there are: few enough that rows of the same one follow each other closely.
const (
	households = 60
	patients   = 200
)

// poisonEvery household has a wrong number of members, from the poisonFirst on.
const (
	poisonEvery = 160
	poisonFirst = 40
)

// generator makes rows. It is used by one goroutine.
type generator struct {
	visits, numbers map[string]int
	made            map[string]int // rows by topic
	records         int
}

func newGenerator() *generator {
	return &generator{visits: map[string]int{}, numbers: map[string]int{}, made: map[string]int{}}
}

// rows is how many rows were made.
func (g *generator) rows() int { return g.made[householdTopic] + g.made[measurementTopic] }

// container is a record's value with what is in it. first is the first row, to be shown.
type container struct {
	topic, codec string
	value        []byte
	rows         []row
	first        any
}

// next makes a container: three of four rows are measurements.
func (g *generator) next() container {
	g.records++
	c := container{topic: measurementTopic, codec: []string{"deflate", "deflate", "snappy", "null"}[g.records%4]}
	schema, n := measurementSchema, recordRows(250)
	if 3*g.made[householdTopic] <= g.made[measurementTopic] {
		c.topic, schema, n = householdTopic, householdSchema, recordRows(12)
	}
	if g.records%50 == 49 {
		n = 0 // legitimate: a container without rows
	}
	values := make([]any, n)
	for i := range values {
		var r row
		if c.topic == householdTopic {
			values[i], r = g.household()
		} else {
			values[i], r = g.measurement()
		}
		r.index = i
		c.rows = append(c.rows, r)
		g.made[c.topic]++
	}
	if n > 0 {
		c.first = values[0]
	}
	c.value = schemastest.Container(schema, c.codec, values...)
	return c
}

// recordRows says how many rows a record has: often one, usually a few, sometimes all that fit.
func recordRows(most int) int {
	switch p := rand.Float64(); {
	case p < 0.3:
		return 1
	case p < 0.95:
		return 1 + rand.IntN(max(most/10, 4))
	}
	return most
}

func (g *generator) household() (household, row) {
	n := rand.IntN(households)
	h := household{
		ID: fmt.Sprintf("hh-%03d", n), Village: []string{"up", "lo"}[n%2], Members: 1 + n%9,
		Location: location{9 + float32(n%8)/8, 7.5},
	}
	if n%3 > 0 {
		phone := fmt.Sprintf("+234 80 %04d %03d", 1000+n*37, n)
		h.Phone = &phone
	}
	g.visits[h.ID]++
	h.Visit = g.visits[h.ID]
	r := row{lane: h.ID}
	if g.made[householdTopic]%poisonEvery == poisonFirst {
		h.Members, r.poison = -h.Members, true
	}
	return h, r
}

func (g *generator) measurement() (measurement, row) {
	patient := fmt.Sprintf("p-%03d", rand.IntN(patients))
	g.numbers[patient]++
	number := g.numbers[patient]
	m := measurement{
		ID: fmt.Sprintf("%s-%d", patient, number), Patient: patient, Number: number,
		Celsius: float32(360+rand.IntN(32)) / 10, TakenAt: time.Now().UnixMilli(), Approved: rand.IntN(10) > 0,
	}
	return m, row{lane: patient, approved: m.Approved, fever: m.Celsius >= 39}
}
