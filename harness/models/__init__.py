"""Published adapters as they are: families, strict loading, prediction.

Only `harness.models.stack` and the modules that a command asks for load torch; importing this
package loads nothing.
"""
