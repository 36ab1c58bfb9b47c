"""Add to journals the time when the oldest record of the commit was appended to the stream."""

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('journals', schema=None) as batch_op:
        batch_op.add_column(sa.Column('appended_ms', sa.BigInteger(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table('journals', schema=None) as batch_op:
        batch_op.drop_column('appended_ms')
