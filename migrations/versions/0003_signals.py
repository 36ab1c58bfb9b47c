"""Create the table of drift signals."""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('drift_signals',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('model', sa.String(length=64), nullable=False),
    sa.Column('lineage', sa.BigInteger(), nullable=False),
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
    sa.ForeignKeyConstraint(['lineage'], ['lineages.id'], name=op.f('fk_drift_signals_lineage_lineages'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['model'], ['models.name'], name=op.f('fk_drift_signals_model_models'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_drift_signals'))
    )
    with op.batch_alter_table('drift_signals', schema=None) as batch_op:
        batch_op.create_index('ix_drift_signals_lineage', ['lineage', 'sequence'], unique=False)
        batch_op.create_index('ix_drift_signals_model', ['model', 'id'], unique=False)


def downgrade() -> None:
    with op.batch_alter_table('drift_signals', schema=None) as batch_op:
        batch_op.drop_index('ix_drift_signals_model')
        batch_op.drop_index('ix_drift_signals_lineage')

    op.drop_table('drift_signals')
