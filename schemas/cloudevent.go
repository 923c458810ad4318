package schemas

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"
)

// CloudEvents 1.0, JSON event format 1.0 and Kafka protocol binding 1.0. The attributes are an object on the tape, as the data is.

const (
	headerPrefix      = "ce_"
	headerContentType = "content-type"
	specVersion       = "1.0"
	dataContentType   = "datacontenttype"
)

// modeOf says what a record's headers make of it: an event of binary mode (ce_specversion), of structured mode or a batch (the type of
// its content), or nothing; both at once is FoundBinary|FoundStructured.
func modeOf(h Headers) (mode Found, contentType string) {
	for i := range headerCount(h) {
		switch name, value := h.Header(i); {
		case name == headerPrefix+"specversion":
			mode |= FoundBinary
		case len(name) == len(headerContentType) && strings.EqualFold(name, headerContentType):
			contentType = view(value)
		}
	}
	if beginsFold(contentType, "application/cloudevents") {
		mode |= FoundStructured
	}
	return mode, contentType
}

// named says whether any header is an attribute's.
func named(h Headers) bool {
	for i := range headerCount(h) {
		if name, _ := h.Header(i); strings.HasPrefix(name, headerPrefix) {
			return true
		}
	}
	return false
}

func headerCount(h Headers) int {
	if h == nil {
		return 0
	}
	return h.Len()
}

// cloudEvent reads a record that is an event, or has to be one.
func (d *Decoder) cloudEvent(value []byte, h Headers, mode Found, contentType string) (Found, *DecodeError) {
	switch mode {
	case FoundBinary | FoundStructured:
		e := problem("a CloudEvent in both modes at once: the header content-type says structured, ce_specversion binary")
		e.Mend = "have the producer write one of them"
		return FoundStructured, e
	case FoundBinary:
		if err := d.attributes(h); err != nil {
			return FoundBinary, err
		}
		if len(value) == 0 {
			d.nothing()
			return FoundBinary, nil
		}
		found, err := d.content(value, contentType)
		return FoundBinary | found, err
	}
	media, _, _ := strings.Cut(contentType, ";")
	switch media = strings.TrimSpace(media); {
	case mode == 0 && named(h): // format: cloudevent
		return FoundBinary, d.attributes(h)
	case mode == 0, strings.EqualFold(media, "application/cloudevents"), strings.EqualFold(media, "application/cloudevents+json"):
		return d.structured(value)
	case strings.EqualFold(media, "application/cloudevents-batch+json"):
		return d.eventBatch(value)
	}
	e := problem("a CloudEvent written as %s", quote(media))
	e.Mend = "have the producer write application/cloudevents+json, or binary mode"
	return FoundStructured, e
}

// structured reads an event that is one JSON document.
func (d *Decoder) structured(value []byte) (Found, *DecodeError) {
	if _, err := d.json(value); err != nil {
		return FoundStructured, err
	}
	if (Value{&d.doc, 0}).Kind() != Object {
		return FoundStructured, problem("no CloudEvent: a JSON %s, and no object", Value{&d.doc, 0}.Kind())
	}
	d.rows = d.rows[:0]
	found, err := d.event(0)
	return FoundStructured | found, err
}

// eventBatch reads a list of events, each of which is a row.
func (d *Decoder) eventBatch(value []byte) (Found, *DecodeError) {
	if _, err := d.json(value); err != nil {
		return FoundBatch, err
	}
	d.rows = d.rows[:0]
	if (Value{&d.doc, 0}).Kind() != Array {
		return FoundBatch, problem("no batch of CloudEvents: a JSON %s, and no list", Value{&d.doc, 0}.Kind())
	}
	all := FoundNothing
	for at, end := int32(1), d.doc.nodes[0].end; at < end; at = d.doc.nodes[at].end {
		if n := len(d.rows); n >= d.limits.Rows {
			return FoundBatch, tooMuch("rows", settingRows, int64(n)+1, int64(d.limits.Rows))
		}
		if kind := d.doc.nodes[at].kind; kind != Object {
			err := problem("no CloudEvent: a JSON %s, and no object", kind)
			err.Row = len(d.rows)
			return FoundBatch, err
		}
		found, err := d.event(at)
		if err != nil {
			err.Row = max(err.Row, len(d.events))
			return FoundBatch, err
		}
		for len(d.events) < len(d.rows) { // more than one if the data is a container file
			d.events = append(d.events, at)
		}
		all = max(all, found)
	}
	return FoundBatch | all, nil
}

// isEvent says whether the JSON document at a node is unmistakably a CloudEvent, of whatever version.
func (d *Decoder) isEvent(at int32) bool {
	v := Value{&d.doc, at}
	if v.Kind() != Object {
		return false
	}
	for _, name := range required {
		if v.Field(name).Kind() != String {
			return false
		}
	}
	return true
}

// required are the attributes without which there is no event.
var required = [...]string{"specversion", "id", "source", "type"}

// event makes the JSON object at a node the attributes of an event, and its data a row: the member data, or what data_base64 holds.
// Attributes of null are not set (JSON format, section 2.2).
func (d *Decoder) event(at int32) (Found, *DecodeError) {
	nodes := d.doc.nodes
	row, packed := int32(-1), int32(-1)
	contentType := ""
	for i := at + 1; i < nodes[at].end; i = nodes[i].end {
		n := &nodes[i]
		switch {
		case n.hidden:
			continue
		case n.key == "data":
			row = i
		case n.key == "data_base64" && n.kind != Null:
			packed = i
		case n.kind == Null:
		case n.key == dataContentType && n.kind == String:
			contentType = n.str
			continue
		default:
			continue
		}
		n.hidden = true
		nodes[at].num--
	}
	if err := d.checkAttributes(at); err != nil {
		return FoundNothing, err
	}
	switch {
	case packed >= 0 && row >= 0 && nodes[row].kind != Null:
		return FoundNothing, problem("a CloudEvent with data and data_base64")
	case packed >= 0:
		return d.unpacked(&nodes[packed], contentType)
	case row < 0:
		d.nothing()
		return FoundNothing, nil
	}
	d.rows = append(d.rows, row)
	if nodes[row].kind == String && !isJSON(contentType) && contentType != "" {
		return FoundText, nil
	}
	return FoundJSON, nil
}

// unpacked reads data that is in the event as base64 text.
func (d *Decoder) unpacked(n *node, contentType string) (Found, *DecodeError) {
	if n.kind != String {
		return FoundNothing, problem("a CloudEvent's data_base64 is a %s, and no text", n.kind)
	}
	from := len(d.doc.text)
	text, err := base64.StdEncoding.AppendDecode(d.doc.text, raw(n.str))
	if err != nil {
		return FoundNothing, problem("a CloudEvent's data_base64 is no base64")
	}
	d.doc.text = text
	data := text[from:]
	if len(data) == 0 {
		d.nothing()
		return FoundNothing, nil
	}
	return d.content(data, contentType)
}

// attributes makes an object of the headers with attributes: the first nodes of the tape.
func (d *Decoder) attributes(h Headers) *DecodeError {
	if n := int64(h.Len()); n >= int64(d.limits.Values) {
		return tooMuch("headers", settingValues, n, int64(d.limits.Values))
	}
	d.doc.begin("", Object)
	for i := range h.Len() {
		name, value := h.Header(i)
		switch {
		case strings.HasPrefix(name, headerPrefix) && len(name) > len(headerPrefix):
			name = name[len(headerPrefix):]
		case strings.EqualFold(name, headerContentType):
			name = dataContentType
		default:
			continue
		}
		text := view(value)
		if !utf8.ValidString(text) {
			text = d.doc.mended(text)
		}
		d.doc.leaf(name, String).str = text
	}
	d.doc.end(true)
	return d.checkAttributes(0)
}

// checkAttributes says what an event lacks.
func (d *Decoder) checkAttributes(at int32) *DecodeError {
	v := Value{&d.doc, at}
	var missing []string
	for _, name := range required {
		if s, ok := v.Field(name).Str(); !ok || s == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return problem("no CloudEvent: it has no %s", strings.Join(missing, ", "))
	}
	if s, _ := v.Field("specversion").Str(); s != specVersion {
		e := problem("a CloudEvent of version %s", quote(s))
		e.Mend = fmt.Sprintf("have the producer write version %s", specVersion)
		return e
	}
	return nil
}

// content reads an event's data by the type that it is said to have; without one it is looked at.
func (d *Decoder) content(data []byte, contentType string) (Found, *DecodeError) {
	switch {
	case contentType == "":
		return d.sniffed(data)
	case isAvro(contentType) && isContainer(data):
		return d.container(data)
	case isAvro(contentType):
		found, err := d.avro(data)
		if err != nil && err.Mend == mendAuto { // which an event's data is not read by
			err.Mend = "have the producer write the id or the fingerprint of its schema in front, or a container file"
		}
		return found, err
	case isJSON(contentType) && framed(data):
		return d.framed(data)
	case isJSON(contentType):
		found, err := d.json(data)
		if err != nil && err.Setting == "" {
			err.Problem = "the event's data, said to be JSON: " + err.Problem
		}
		return found, err
	}
	return d.whole(data)
}

// isJSON says whether a content type is JSON's: application/json, text/json, or one that ends in +json.
func isJSON(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.TrimSpace(media)
	return strings.EqualFold(media, "application/json") || strings.EqualFold(media, "text/json") ||
		len(media) > 5 && strings.EqualFold(media[len(media)-5:], "+json")
}

// isAvro says whether a content type is Avro's in binary: application/avro, avro/binary, application/x-avro, and others with that word.
func isAvro(contentType string) bool {
	if isJSON(contentType) {
		return false
	}
	for i := range len(contentType) - 3 {
		if contentType[i] == ';' {
			return false
		}
		if strings.EqualFold(contentType[i:i+4], "avro") {
			return true
		}
	}
	return false
}

func beginsFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
