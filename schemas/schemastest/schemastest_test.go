package schemastest_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"streamer/schemas"
	"streamer/schemas/schemastest"
)

func TestContainersHoldTheirRows(t *testing.T) {
	for name, c := range map[string]struct {
		schema string
		row    func(int) map[string]any
	}{
		"person":    {schemastest.Person, schemastest.PersonRow},
		"household": {schemastest.Household, schemastest.HouseholdRow},
		"survey":    {schemastest.Survey, schemastest.SurveyRow},
	} {
		for _, codec := range []string{"null", "deflate", "snappy"} {
			for _, count := range []int{0, 1, 250} {
				rows := make([]any, count)
				for i := range rows {
					rows[i] = c.row(i)
				}
				b, err := schemas.NewDecoder(schemas.Config{Format: schemas.FormatAether}, nil).Decode(schemastest.Container(c.schema, codec, rows...), nil)
				if err != nil {
					t.Fatalf("%s, %s: %v", name, codec, err)
				}
				if b.Len() != count {
					t.Fatalf("%s, %s: %d rows, want %d", name, codec, b.Len(), count)
				}
				for i := range rows {
					got, err := b.Row(i).AppendJSON(nil)
					if err != nil {
						t.Fatal(err)
					}
					want, _ := json.Marshal(rows[i])
					if !sameJSON(t, got, want) {
						t.Fatalf("%s, %s, row %d: %s, want %s", name, codec, i, got, want)
					}
				}
			}
		}
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		t.Fatalf("no JSON: %s, %s", a, b)
	}
	return reflect.DeepEqual(x, y)
}

func TestContainerRefusesRowsThatDoNotFit(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a row without its fields was written")
		}
	}()
	schemastest.Container(schemastest.Person, "null", map[string]any{"id": 5})
}
