package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"streamer/control/client"
	"streamer/control/people"
	"streamer/control/service"
)

func tokensCommand(environ []string) *cobra.Command {
	return group("tokens", "makes, lists and revokes API tokens", tokensCreate(environ), tokensList(environ), tokensRevoke(environ))
}

func tokensCreate(environ []string) *cobra.Command {
	c := &cobra.Command{
		Example: "  streamer tokens create ci --grant edit:demo --expires-in 720h",
		Use:     "create NAME --grant PERMISSION:OWNER… [--expires-in DURATION]",
		Short:   "makes an API token, and prints it this once",
		Long: "Makes an API token for a program: Authorization: Bearer TOKEN, or STREAMER_TOKEN for these commands. It is printed alone, this once,\n" +
			"and cannot be had again. --grant says what it may do: view, operate, edit or admin, on the jobs of an owner or (*) of all.",
		Args: oneArgument("a name"),
	}
	grants := c.Flags().StringArray("grant", nil, "what it may do: operate:health, view:*; may be repeated")
	life := c.Flags().String("expires-in", "", "how long it is valid (default 2160h, which is 90 days)")
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		in := people.Creation{Name: args[0], ExpiresIn: *life}
		for _, text := range *grants {
			permission, owner, ok := strings.Cut(text, ":")
			if !ok {
				return misuse{fmt.Errorf("--grant: %q is no PERMISSION:OWNER; write it as operate:health", text)}
			}
			in.Grants = append(in.Grants, service.Grant{Permission: service.Permission(permission), Owner: owner})
		}
		if in.Grants == nil {
			return misuse{fmt.Errorf("%s needs --grant; usage: %s", c.CommandPath(), c.UseLine())}
		}
		made, err := api.CreateToken(ctx, in)
		if err != nil {
			return err
		}
		if *output == asText {
			_, _ = fmt.Fprintf(c.ErrOrStderr(), "token %s (%s), valid until %s; it is not shown again:\n", made.ID, made.Name, stamp(made.Expires))
		}
		return output.print(c.OutOrStdout(), made, func(w io.Writer) { _, _ = fmt.Fprintln(w, made.Secret) })
	})
}

func tokensList(environ []string) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "lists the API tokens", Args: cobra.NoArgs}
	limit := c.Flags().Int("limit", 0, "at most so many, up to 1000 (default 100)")
	cursor := c.Flags().String("cursor", "", "where to go on: what the last page named")
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, _ []string) error {
		page, err := api.Tokens(ctx, *cursor, *limit)
		if err != nil {
			return err
		}
		return output.print(c.OutOrStdout(), page, func(w io.Writer) { tokensText(w, page) })
	})
}

func tokensText(w io.Writer, page people.TokenPage) {
	var lines [][]string
	for _, k := range page.Tokens {
		var may []string
		for _, g := range k.Grants {
			may = append(may, string(g.Permission)+":"+g.Owner)
		}
		expires := stamp(k.Expires)
		if !clock().Before(k.Expires) {
			expires += " (expired)"
		}
		lines = append(lines, []string{k.ID, k.Name, strings.Join(may, " "), k.By, stamp(k.Created), expires})
	}
	table(w, "", []string{"ID", "NAME", "MAY", "BY", "CREATED", "EXPIRES"}, lines)
	if page.Next != "" {
		_, _ = fmt.Fprintf(w, "there are more: --cursor %s\n", page.Next)
	}
}

func tokensRevoke(environ []string) *cobra.Command {
	c := &cobra.Command{Use: "revoke ID", Short: "ends an API token on every instance", Args: oneArgument("the id of a token")}
	output := outputFlag(c)
	return calls(c, environ, func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		revoked, err := api.RevokeToken(ctx, args[0])
		if err != nil {
			return err
		}
		if !revoked.Revoked {
			return failure{errors.New("there is no token " + args[0] + ", or it was revoked before; see streamer tokens list")}
		}
		return output.print(c.OutOrStdout(), revoked, func(w io.Writer) { _, _ = fmt.Fprintf(w, "token %s is revoked\n", revoked.ID) })
	})
}

// oneArgument wants one argument, and names what it is.
func oneArgument(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return fmt.Errorf("%s needs %s; usage: %s", c.CommandPath(), what, c.UseLine())
		}
		return nil
	}
}
