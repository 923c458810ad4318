package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/sr"

	"streamer/schemas"
	"streamer/sink"
)

// asking asks for a schema with all that it refers to.
type asking struct {
	client *sr.Client
	host   string
	// proved is set once the registry has answered as one does: from then on a bare 404 is about the schema, not about the URL.
	proved atomic.Bool
}

// unknownError says that the registry has no such schema, or one that cannot be used: asking again soon gives the same.
type unknownError struct{ problem string }

func (e *unknownError) Error() string { return e.problem }

func (a *asking) schema(ctx context.Context, id int) (schemas.Registered, error) {
	s, err := a.client.SchemaByID(ctx, id)
	if err != nil {
		return schemas.Registered{}, a.wrong(err, "the registry knows none")
	}
	if s.Schema == "" {
		return schemas.Registered{}, fmt.Errorf("the schema registry at %s answers without a schema; is its URL right?", a.host)
	}
	a.proved.Store(true)
	out := schemas.Registered{Type: s.Type.String(), Text: s.Schema}
	if s.Type == sr.TypeAvro {
		seen := map[string]bool{}
		if out.References, err = a.references(sr.WithParams(ctx, sr.ShowDeleted), nil, s.References, seen); err != nil {
			return schemas.Registered{}, err
		}
	}
	return out, nil
}

// references appends the texts of what refs name, each after what it refers to itself.
func (a *asking) references(ctx context.Context, texts []string, refs []sr.SchemaReference, seen map[string]bool) ([]string, error) {
	for _, ref := range refs {
		key := fmt.Sprintf("%d %s", ref.Version, ref.Subject)
		if seen[key] {
			continue
		}
		if seen[key] = true; len(seen) > referenceMost {
			return nil, &unknownError{fmt.Sprintf("it refers to more than %d others", referenceMost)}
		}
		s, err := a.client.SchemaByVersion(ctx, ref.Subject, ref.Version)
		if err != nil {
			return nil, a.wrong(err, fmt.Sprintf("it refers to version %d of %q, which the registry does not have", ref.Version, ref.Subject))
		}
		if texts, err = a.references(ctx, texts, s.References, seen); err != nil {
			return nil, err
		}
		texts = append(texts, s.Schema.Schema)
	}
	return texts, nil
}

// Error codes of Confluent's API for what is not there.
const (
	codeNoSubject = 40401
	codeNoVersion = 40402
	codeNoSchema  = 40403
)

// wrong tells an answer that there is no such schema from everything that has to be tried again.
func (a *asking) wrong(err error, unknown string) error {
	var answer *sr.ResponseError
	var refused *sink.AddressError
	switch {
	case errors.As(err, &refused):
		return fmt.Errorf("the schema registry: %w", refused)
	case !errors.As(err, &answer):
		return fmt.Errorf("the schema registry at %s does not answer: %w", a.host, root(err))
	case answer.ErrorCode == codeNoSchema, answer.ErrorCode == codeNoVersion, answer.ErrorCode == codeNoSubject:
		a.proved.Store(true)
		return &unknownError{unknown}
	case answer.StatusCode == http.StatusNotFound && a.proved.Load():
		return &unknownError{unknown}
	case answer.StatusCode == http.StatusNotFound:
		return fmt.Errorf("the schema registry at %s answers 404 and no error code of a registry; is STREAMER_SCHEMA_REGISTRY_URL right?", a.host)
	case answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusForbidden:
		return fmt.Errorf("the schema registry at %s answers %d: mend STREAMER_SCHEMA_REGISTRY_USER and _PASSWORD, or what they may read", a.host, answer.StatusCode)
	}
	return fmt.Errorf("the schema registry at %s answers %d", a.host, answer.StatusCode)
}

// root is what went wrong, without what was tried: the request's URL says nothing more.
func root(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
