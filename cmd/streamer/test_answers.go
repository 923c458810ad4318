package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"streamer/consumer"
	"streamer/mapping"
)

// answered refuses answers that no step of the jobs goes by.
func (r recordFlags) answered(answers consumer.RecordedAnswers, jobs []consumer.Config) error {
	var programs []*mapping.Program
	for _, cfg := range jobs {
		programs = append(programs, cfg.Program)
	}
	var wrong []error
	for _, f := range answers.Unknown(programs...) {
		wrong = append(wrong, fmt.Errorf("answers: %s: %w", r.answers, f))
	}
	return errors.Join(wrong...)
}

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
