package schemastest

import (
	"fmt"
	"strings"
)

// Schemas as Aether's modules make them: an id, annotations beside the type, masking levels, nullable answers.
const (
	// Person is a small entity, masked in part by levels public, private, confidential.
	Person = `{"type": "record", "name": "Person", "namespace": "org.eha.demo", "doc": "A person", "fields": [
 {"name": "id", "type": "string", "jsonldPredicate": "@id", "@aether_extended_type": "string"},
 {"name": "name", "type": "string", "aetherMaskingLevel": "private"},
 {"name": "dateOfBirth", "type": ["null", "string"], "aetherMaskingLevel": "confidential"},
 {"name": "villageID", "type": "string", "aetherMaskingLevel": "public"},
 {"name": "occupation", "type": ["null", "string"]},
 {"name": "approved", "type": "boolean"}
]}`

	// Household has 12 fields: one row is some 0.7 kB as JSON and 1 kB as a container with deflate, its schema included.
	Household = `{"type": "record", "name": "Household", "namespace": "org.eha.demo", "fields": [
 {"name": "id", "type": "string", "jsonldPredicate": "@id"},
 {"name": "_rev", "type": "string"},
 {"name": "headPersonID", "type": ["null", "string"], "jsonldPredicate": {"_id": "headPersonID", "_type": "@id"}},
 {"name": "villageID", "type": "string"},
 {"name": "streetAddress", "type": ["null", "string"], "aetherMaskingLevel": "private"},
 {"name": "locationLatitude", "type": "double"},
 {"name": "locationLongitude", "type": "double"},
 {"name": "locationAltitude", "type": ["null", "float"]},
 {"name": "members", "type": "int"},
 {"name": "surveyedAt", "type": {"type": "long", "logicalType": "timestamp-millis"}},
 {"name": "approved", "type": "boolean"},
 {"name": "remarks", "type": ["null", "string"], "doc": "What the surveyor wrote"}
]}`

	// Survey is a form with groups inside groups, lists and choices.
	Survey = `{"type": "record", "name": "Visit_3", "namespace": "org.eha.demo", "fields": [
 {"name": "id", "type": "string"},
 {"name": "_surveyor", "type": ["null", "string"], "doc": "Surveyor"},
 {"name": "start", "type": ["null", "string"], "@aether_extended_type": "dateTime"},
 {"name": "water", "type": ["null", "string"], "@aether_extended_type": "select1", "@aether_lookup": [{"value": "well", "label": "Well"}, {"value": "tap", "label": "Tap"}]},
 {"name": "location", "type": ["null", {"type": "record", "name": "Geopoint", "@aether_extended_type": "geopoint", "fields": [
  {"name": "latitude", "type": ["null", "float"]}, {"name": "longitude", "type": ["null", "float"]}]}], "aetherMaskingLevel": "private"},
 {"name": "dwelling", "type": {"type": "record", "name": "Dwelling", "fields": [
  {"name": "rooms", "type": ["null", "int"]},
  {"name": "owner", "type": ["null", {"type": "record", "name": "Owner", "fields": [
   {"name": "name", "type": "string", "aetherMaskingLevel": "confidential"}, {"name": "phone", "type": ["null", "string"], "aetherMaskingLevel": "private"}]}]}]}},
 {"name": "crops", "type": {"type": "array", "items": "string"}},
 {"name": "children", "type": {"type": "array", "items": {"type": "record", "name": "Child", "fields": [
  {"name": "name", "type": "string", "aetherMaskingLevel": "private"}, {"name": "age", "type": "int"}]}}}
]}`
)

// PersonRow gives the i-th row of Person, i ≥ 0; the same i gives the same row.
func PersonRow(i int) map[string]any {
	row := map[string]any{
		"id": fmt.Sprintf("person-%06d", i), "name": pick(names, i) + " " + pick(families, i/3), "dateOfBirth": nil,
		"villageID": fmt.Sprintf("village-%02d", i%40), "occupation": nil, "approved": i%10 != 9,
	}
	if i%4 != 0 {
		row["dateOfBirth"] = fmt.Sprintf("%d-%02d-%02d", 1940+i%70, 1+i%12, 1+i%28)
	}
	if i%3 != 0 {
		row["occupation"] = pick(trades, i)
	}
	return row
}

// HouseholdRow gives the i-th row of Household, as PersonRow does.
func HouseholdRow(i int) map[string]any {
	return map[string]any{
		"id": fmt.Sprintf("household-%06d-4f1c-9d6a-0b7f2c", i), "_rev": fmt.Sprintf("1-%032x", i*2654435761),
		"headPersonID": fmt.Sprintf("person-%06d-88aa-47be-a310-5d", i*3), "villageID": fmt.Sprintf("village-%02d", i%40),
		"streetAddress":    fmt.Sprintf("%d %s Street, behind the %s", 1+i%90, pick(families, i), pick(places, i)),
		"locationLatitude": 9 + float64(i%1000)/1000, "locationLongitude": 7 + float64(i%777)/777, "locationAltitude": float32(i%500) + 0.5,
		"members": 1 + i%9, "surveyedAt": 1_700_000_000_000 + int64(i)*61_003, "approved": i%10 != 9,
		"remarks": strings.Repeat(pick(remarks, i)+" ", 4),
	}
}

// SurveyRow gives the i-th row of Survey, as PersonRow does.
func SurveyRow(i int) map[string]any {
	children := []any{}
	for c := range i % 4 {
		children = append(children, map[string]any{"name": pick(names, i+c), "age": 1 + (i+3*c)%17})
	}
	row := map[string]any{
		"id": fmt.Sprintf("visit-%06d", i), "_surveyor": "surveyor-" + fmt.Sprint(1+i%5), "start": nil, "water": pick([]string{"well", "tap"}, i), "location": nil,
		"dwelling": map[string]any{"rooms": 1 + i%6, "owner": nil}, "crops": crops[:i%len(crops)], "children": children,
	}
	if i%3 != 0 {
		row["location"] = map[string]any{"latitude": 9 + float32(i%8)/8, "longitude": 7.5}
		row["dwelling"] = map[string]any{"rooms": nil, "owner": map[string]any{"name": pick(names, i+1), "phone": nil}}
	}
	return row
}

func pick(from []string, i int) string { return from[i%len(from)] }

var (
	names    = []string{"Amina", "Musa", "Zainab", "Ibrahim", "Ngozi", "Chidi", "Hauwa", "Yusuf", "Adaeze", "Ünal", "Łucja"}
	families = []string{"Bello", "Okafor", "Danjuma", "Eze", "Sani", "Adeyemi", "Mohammed"}
	trades   = []string{"farmer", "teacher", "nurse", "trader", "smith"}
	places   = []string{"market", "mosque", "church", "school", "well", "clinic"}
	crops    = []string{"maize", "yam", "sorghum", "cassava"}
	remarks  = []string{"roof needs repair before the rains", "no one at home on the first visit", "water is carried from the river", "children attend the new school"}
)
