"""RMSprop, Adam and SGD of Keras 3.15, in the defined arithmetic.

The two that keep averages use TensorFlow's own kernels for them, which pass over the weights two or three times where
Keras's formula, an operation at a time, takes ten. These kernels round each operation on its own, on x86-64 and arm64;
`exactkeras.check` compares them with the formulas below before each training.
"""

from typing import Any

import keras
import tensorflow as tf


class RMSprop(keras.optimizers.RMSprop):
    """Keras's RMSprop, without momentum and centring.

    v += (g g - v) (1 - rho), which is Keras's rho v + (1 - rho) g g in another order; w -= g rate / sqrt(v + epsilon).
    """

    def build(self, variables: list[Any]) -> None:
        super().build(variables)
        # The kernel's own momentum: zero times this is added to each step.
        self.still = [self.add_variable_from_reference(variable, name="still") for variable in variables]

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: tf.Tensor) -> None:
        """Change one variable and its average."""
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyRMSProp(
            var=variable.handle,
            ms=self._velocities[index].value.handle,
            mom=self.still[index].value.handle,
            lr=learning_rate,
            rho=self.rho,
            momentum=0.0,
            epsilon=self.epsilon,
            grad=gradient,
        )


class Adam(keras.optimizers.Adam):
    """Keras's Adam. The powers of its decays are products, one factor a step: a library's `pow` is not defined.

    m += (g - m) (1 - b1); v += (g g - v) (1 - b2); w -= m (rate sqrt(1 - B2) / (1 - B1)) / (sqrt(v) + epsilon).
    """

    def build(self, variables: list[Any]) -> None:
        super().build(variables)
        self.powers = [self.add_variable(shape=(), initializer="ones", name=f"power_{k}") for k in (1, 2)]

    def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
        """One step."""
        for power, decay in zip(self.powers, (self.beta_1, self.beta_2), strict=True):
            power.assign(power * decay)
        return super().apply(grads, trainable_variables)

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: tf.Tensor) -> None:
        """Change one variable and its averages."""
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=self.powers[0],
            beta2_power=self.powers[1],
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


#: By the names in params.yaml. Keras's SGD, w -= g rate, is in the defined arithmetic as it is.
OPTIMIZERS = {"rmsprop": RMSprop, "adam": Adam, "sgd": keras.optimizers.SGD}
