package service

import (
	"encoding/json"
	"fmt"

	"github.com/labstack/echo/v4"
)

// Call calls a method, named as service.method, for a route that stands for it and is no line of the table: as the method's own route does,
// for the same caller, with the permission, the checks of the arguments and the time that it has. The answer is the method's as JSON. What it
// refuses is a *Problem that names the method's arguments.
func (t *Table) Call(c echo.Context, id string, args map[string]any) (json.RawMessage, error) {
	for _, m := range t.methods {
		if m.ID() != id {
			continue
		}
		given := &arguments{values: map[string]json.RawMessage{}, known: m.names}
		for name, value := range args {
			text, err := json.Marshal(value)
			if err != nil {
				return nil, err
			}
			given.values[name] = text
		}
		out, err := t.invoke(c, m, given, nil)
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	}
	return nil, fmt.Errorf("there is no method %s", id)
}
