//go:build tools

// Keeps the requirement on Kubo in go.mod: the binary is built from the module, the source is never copied here.
package tools

import _ "github.com/ipfs/kubo/cmd/ipfs/kubo"
