"""Create the set_aside_* tables of rows that a fall back takes out of use."""

import sqlalchemy as sa
from alembic import op

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None

COLUMNS = {
    'checkpoints': lambda: (
        sa.Column('sequence', sa.BigInteger(), nullable=False),
        sa.Column('digest', sa.String(length=64), nullable=False),
        sa.Column('size', sa.BigInteger(), nullable=False),
        sa.Column('position', sa.JSON(), nullable=False),
        sa.Column('learned', sa.BigInteger(), nullable=False),
        sa.Column('metrics', sa.JSON(), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('waiting', sa.String(length=64), nullable=True),
    ),
    'journals': lambda: (
        sa.Column('sequence', sa.BigInteger(), nullable=False),
        sa.Column('runs', sa.LargeBinary(), nullable=False),
        sa.Column('scores', sa.LargeBinary(), nullable=False),
        sa.Column('scored', sa.BigInteger(), nullable=False),
        sa.Column('appended_ms', sa.BigInteger(), nullable=True),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    ),
    'drift_signals': lambda: (
        sa.Column('model', sa.String(length=64), nullable=False),
        sa.Column('sequence', sa.BigInteger(), nullable=False),
        sa.Column('monitor', sa.String(length=64), nullable=False),
        sa.Column('topic', sa.String(length=249), nullable=False),
        sa.Column('partition', sa.Integer(), nullable=False),
        sa.Column('position', sa.BigInteger(), nullable=False),
        sa.Column('ts', sa.BigInteger(), nullable=False),
        sa.Column('value', sa.Double(), nullable=False),
        sa.Column('threshold', sa.Double(), nullable=True),
        sa.Column('evidence', sa.JSON(), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    ),
    'pending': lambda: (
        sa.Column('pool', sa.BigInteger(), nullable=False),
        sa.Column('key', sa.LargeBinary(length=140), nullable=False),
        sa.Column('kind', sa.SmallInteger(), nullable=False),
        sa.Column('created', sa.BigInteger(), nullable=False),
        sa.Column('resolved', sa.BigInteger(), nullable=True),
        sa.Column('ts', sa.BigInteger(), nullable=False),
        sa.Column('payload', sa.LargeBinary(), nullable=False),
    ),
}


def upgrade() -> None:
    for name, columns in COLUMNS.items():
        table = f'set_aside_{name}'
        op.create_table(
            table,
            sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
            sa.Column('set_aside_at', sa.DateTime(timezone=True), nullable=False),
            sa.Column('lineage', sa.BigInteger(), nullable=False),
            *columns(),
            sa.ForeignKeyConstraint(
                ['lineage'], ['lineages.id'], name=op.f(f'fk_{table}_lineage_lineages'), ondelete='CASCADE'
            ),
            sa.PrimaryKeyConstraint('id', name=op.f(f'pk_{table}')),
        )
        op.create_index(op.f(f'ix_{table}_lineage'), table, ['lineage'])


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_table(f'set_aside_{name}')
