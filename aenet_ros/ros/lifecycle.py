"""A lifecycle node that logs why a transition failed; rclpy swallows exceptions raised in transitions."""

import traceback
from abc import abstractmethod
from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from aenet_ros.core.errors import AenetError, format_error


class LoggedLifecycleNode(LifecycleNode):
    """Maps the transitions to four steps that may raise.

    The reason of a failure is logged and kept in ``problem`` until ``configure`` or ``activate`` succeeds.
    ``state_label``: label of the state after the last transition.
    """

    state_label = "unconfigured"
    problem = ""

    @abstractmethod
    def configure(self) -> None:
        """Acquire what is needed before frames arrive; undone by ``release``."""

    @abstractmethod
    def activate(self) -> None:
        """Start to work; undone by ``stop_streams``."""

    @abstractmethod
    def stop_streams(self) -> None:
        """Stop to work; may be called when nothing is active."""

    @abstractmethod
    def release(self) -> None:
        """Release everything, active or not."""

    def destroy_node(self) -> None:
        """Release everything and destroy the node, whatever state it is in."""
        self._run("stop", self.release, "finalized")
        super().destroy_node()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See ``configure``."""
        return self._run("configure", self.configure, "inactive", undo=self.release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See ``activate``."""
        return self._run("activate", self.activate, "active", undo=self.stop_streams)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See ``stop_streams``."""
        return self._run("deactivate", self.stop_streams, "inactive")

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See ``release``."""
        return self._run("cleanup", self.release, "unconfigured")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See ``release``."""
        return self._run("shutdown", self.release, "finalized")

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See ``release``; the node is unconfigured afterwards."""
        return self._run("error processing", self.release, "unconfigured")

    def _run(self, name: str, step: Callable[[], None], label: str, undo: Callable[[], None] | None = None) -> TransitionCallbackReturn:
        try:
            step()
        except Exception as error:
            self.problem = f"cannot {name}: {format_error(error)}"
            self.get_logger().error(self.problem)
            if not isinstance(error, AenetError):
                self.get_logger().error(traceback.format_exc())
            if undo is None:
                return TransitionCallbackReturn.ERROR
            try:
                undo()
            except Exception as second:  # the first reason is the one to tell
                self.get_logger().error(f"cannot undo {name}: {format_error(second)}")
                return TransitionCallbackReturn.ERROR
            return TransitionCallbackReturn.FAILURE
        self.state_label = label
        if undo is not None:  # configure and activate: it works again
            self.problem = ""
        return TransitionCallbackReturn.SUCCESS
