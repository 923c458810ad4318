package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"streamer/control/client"
	"streamer/control/service"
	"streamer/internal/nearest"
)

func servicesCommand(environ []string) *cobra.Command {
	return group("services", "lists what can be asked of streamer, and asks it", servicesList(environ), servicesCall(environ))
}

func servicesList(environ []string) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "lists every service and method with its arguments and permission", Args: cobra.NoArgs}
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, _ []string) error {
		list, err := api.Services(ctx)
		if err != nil {
			return err
		}
		return output.print(c.OutOrStdout(), list, func(w io.Writer) { servicesText(w, list) })
	})
}

func servicesText(w io.Writer, list service.List) {
	var lines [][]string
	for _, s := range list.Services {
		for _, m := range s.Methods {
			need := string(m.Permission)
			if m.Permission != "" && m.On == "" {
				need += " (system)"
			}
			lines = append(lines, []string{s.Name, m.Name, need, argumentsText(m.Arguments), m.Summary})
		}
	}
	table(w, "", []string{"SERVICE", "METHOD", "NEEDS", "ARGUMENTS", "WHAT"}, lines)
}

// argumentsText is job [limit] [cursor]: what may be left out stands in brackets.
func argumentsText(schema json.RawMessage) string {
	s := argumentsOf(schema)
	var parts []string
	for _, name := range s.names() {
		if slices.Contains(s.Required, name) {
			parts = append(parts, name)
		} else {
			parts = append(parts, "["+name+"]")
		}
	}
	return strings.Join(parts, " ")
}

// arguments are what a method takes.
type arguments struct {
	Properties map[string]struct {
		Type any `json:"type"`
	} `json:"properties"`
	Required []string `json:"required"`
}

func argumentsOf(schema json.RawMessage) (s arguments) {
	_ = json.Unmarshal(schema, &s) // what is no schema takes nothing
	return s
}

// names are those that are needed, in their order, then the others.
func (s arguments) names() []string {
	names := slices.Clone(s.Required)
	var others []string
	for name := range s.Properties {
		if !slices.Contains(names, name) {
			others = append(others, name)
		}
	}
	slices.Sort(others)
	return append(names, others...)
}

// is says that an argument may be of a type of JSON.
func (s arguments) is(name, kind string) bool {
	switch t := s.Properties[name].Type.(type) {
	case string:
		return t == kind
	case []any:
		return slices.Contains(t, any(kind))
	}
	return false
}

func servicesCall(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "call SERVICE METHOD [NAME=VALUE…]",
		Short: "calls a method with its arguments, and prints the answer as JSON",
		Long: "Calls a method by its name, as streamer services list has it, and prints the answer as JSON. Texts are written as they are, lists with\n" +
			"commas between, all else as JSON: streamer services call deadletters list job=visits class=rejected,target limit=10.",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 2 {
				return fmt.Errorf("%s needs a service and a method; usage: %s", c.CommandPath(), c.UseLine())
			}
			return nil
		},
	}
	output := outputFlag(c)
	*output = asJSON
	c.Flags().Lookup("output").DefValue = string(asJSON)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		list, err := api.Services(ctx)
		if err != nil {
			return err
		}
		m, err := methodOf(list, args[0], args[1])
		if err != nil {
			return misuse{err}
		}
		in, err := given(argumentsOf(m.Arguments), args[2:])
		if err != nil {
			return misuse{err}
		}
		name := args[0] + "." + args[1]
		if m.Stream {
			return plainProblem(api.Stream(ctx, name, in, func(line json.RawMessage) error {
				_, err := fmt.Fprintf(c.OutOrStdout(), "%s\n", line)
				return err
			}))
		}
		var out json.RawMessage
		if err := api.Call(ctx, name, in, &out); err != nil {
			return plainProblem(err)
		}
		if m.Status == http.StatusNoContent {
			return nil
		}
		return output.print(c.OutOrStdout(), out, func(w io.Writer) { _, _ = fmt.Fprintf(w, "%s\n", out) })
	})
}

// plainProblem keeps the field of a problem from being named as a flag: it was given as NAME=VALUE.
func plainProblem(err error) error {
	var p *service.Problem
	switch {
	case !errors.As(err, &p):
		return err
	case wrongInput(p):
		return misuse{errors.New(p.Error())}
	}
	return failure{errors.New(p.Error())}
}

// methodOf finds a method, or names the one that was meant.
func methodOf(list service.List, name, method string) (service.ListedMethod, error) {
	var services, methods []string
	for _, s := range list.Services {
		services = append(services, s.Name)
		if s.Name != name {
			continue
		}
		for _, m := range s.Methods {
			if m.Name == method {
				return m, nil
			}
			methods = append(methods, m.Name)
		}
	}
	what, word, known := "service", name, services
	if methods != nil {
		what, word, known = "method of "+name, method, methods
	}
	if n := nearest.Name(word, known); n != "" {
		return service.ListedMethod{}, fmt.Errorf("there is no %s %q; did you mean %s?", what, word, n)
	}
	return service.ListedMethod{}, fmt.Errorf("there is no %s %q; there are %s", what, word, strings.Join(known, ", "))
}

// given reads NAME=VALUE, as the method takes it. What it does not take is sent as a text, and refused by name.
func given(s arguments, pairs []string) (map[string]any, error) {
	in := map[string]any{}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%q is no NAME=VALUE", pair)
		}
		if _, twice := in[name]; twice {
			return nil, fmt.Errorf("%s stands twice", name)
		}
		_, known := s.Properties[name]
		switch raw := []byte(value); {
		case !known || s.is(name, "string"):
			in[name] = value
		case s.is(name, "array") && !bytes.HasPrefix(raw, []byte("[")):
			in[name] = strings.Split(value, ",")
		case json.Valid(raw):
			in[name] = json.RawMessage(raw)
		default:
			return nil, fmt.Errorf("%s is no JSON", name)
		}
	}
	return in, nil
}
