package command

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"
)

// lookupTimeout is for one name; charts ask again and again.
const lookupTimeout = 5 * time.Second

// nslookupCommand stands in for nslookup in the slim image. Charts wait with it until the name of the broker is known, and the
// userland's own asks every search domain and fails when any of them does not know the name.
func nslookupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "nslookup NAME", Short: "Find the addresses of a host, search domains included", Args: cobra.ExactArgs(1), Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), lookupTimeout)
			defer cancel()
			addresses, err := (&net.Resolver{PreferGo: true}).LookupHost(ctx, args[0])
			if err != nil {
				return fmt.Errorf("finding the addresses of %s: %w", args[0], err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Name:\t%s\n", args[0])
			for _, address := range addresses {
				fmt.Fprintf(cmd.OutOrStdout(), "Address: %s\n", address)
			}
			return nil
		},
	}
}
