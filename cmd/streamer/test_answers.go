package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"streamer/consumer"
)

// readAnswers reads what steps are answered.
func readAnswers(file string) (consumer.RecordedAnswers, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("answers: %w", err)
	}
	var all consumer.RecordedAnswers
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		return nil, fmt.Errorf("answers: %s: %w; write it as in {\"owner\": {\"status\": 200, \"body\": {\"id\": 7}}}", file, err)
	}
	return all, nil
}
